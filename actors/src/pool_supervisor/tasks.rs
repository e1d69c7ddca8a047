//! The two background tasks of a supervisor: the pool's timer, and the task that tells the supervisor about deferred actions.
//! They hold no strong address of it, which would keep the pool alive for ever.

use crate::shared_state::{SharedState, with};
use actix::{Message, WeakRecipient};
use actix_rt::task::JoinHandle;

/// At least one action was deferred.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DrainDeferred;

/// Both tasks. Dropping this aborts them.
pub(super) struct Tasks([JoinHandle<()>; 2]);

impl Tasks {
    pub(super) fn start(shared_state: &SharedState, supervisor: WeakRecipient<DrainDeferred>) -> Self {
        Self([
            actix_rt::spawn(timer(shared_state.clone())),
            actix_rt::spawn(drain_task(shared_state.clone(), supervisor)),
        ])
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Runs a step when something is due. Also wakes up when a step makes something due earlier.
async fn timer(shared_state: SharedState) {
    let (rearm, mut alarm) = (shared_state.borrow().rearm(), shared_state.borrow().clock().timer());
    loop {
        // `arm` records the deadline before the wait starts: a step in between that makes something due earlier sees the new
        // deadline and notifies `rearm`, which stores a permit. Both branches lead back to `arm`, so no deadline is missed.
        let next = shared_state.borrow_mut().arm();
        tokio::select! {
            // A panic is not lost with the error: see `step`.
            () = alarm.wait_until(next) => drop(with(&shared_state, |state| state.on_timer(next))),
            () = rearm.notified() => {}
        }
    }
}

async fn drain_task(shared_state: SharedState, supervisor: WeakRecipient<DrainDeferred>) {
    let wake = shared_state.borrow().wake();
    loop {
        // Several actions may cause one wake-up, because `Notify` stores at most one permit. The handler takes all actions,
        // so none is left. The address is upgraded only for the message: a strong address held across the wait would keep the
        // pool alive.
        wake.notified().await;
        let Some(supervisor) = supervisor.upgrade() else { return };
        supervisor.do_send(DrainDeferred);
    }
}
