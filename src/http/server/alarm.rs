//! One timer a connection, for all its deadlines. Holds nothing else.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// Wakes the connection's task at a deadline.
///
/// A deadline usually moves away before it is reached: each request has a later one. So the timer stays where it is, and looks again when it
/// fires: a request costs no operation on the timer wheel.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the deadline is over.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long a client may take")]
    pub(super) fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        // Whatever else the task did in this turn: a client that sends all the time must not keep the timer from being looked at.
        while pin!(unconstrained(timer.as_mut())).poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
