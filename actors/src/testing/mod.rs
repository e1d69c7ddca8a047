//! For tests of pools: workers that are played instead of started, a clock that is moved by hand, waits for events, the captured
//! log. Feature `testing`; users find it, and more, in `herder::testing`. Holds no state of a pool, and uses nothing of it but what
//! any launcher and any worker has.
//!
//! What can't be done, or does not come, panics: it is a test that failed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod clock;
mod logs;
mod peer;
mod peers;
mod pinged;
mod process;
mod script;

/// What passes between a host and a worker, for who plays one by hand.
pub mod wire {
    pub use herder_core::WireId;
    pub use herder_wire::{
        Call, CallResult, CommandEntry, EndReason, HostHello, HostMessage, Ready, SessionEnd, SessionState,
        WorkerError, WorkerErrorKind, WorkerHello, WorkerMessage,
    };
}

pub(crate) use clock::Bell;
pub use clock::Clock;
pub use herder_core::ExitStatus;
pub use logs::{Line, capture, lines_of, logged};
pub use peer::{End, Peer, encoded, error, hello, ready, result};
pub use peers::{Launch, Launches, Peers};
pub(crate) use pinged::Pinged;
pub use process::ScriptedChild;
pub use script::{Fault, Invocation, Script, ScriptedWorkers, Session, Starts};

use std::time::Duration;

/// When a wait is given up: a guard against hanging and no measure, generous on purpose, since a machine may be busy. Two minutes.
pub const HANGING: Duration = Duration::from_secs(120);

/// Between two looks of [`until`]: for the machine, not for the event.
const PAUSE: Duration = Duration::from_millis(2);

/// Awaits something, with a guard against hanging.
///
/// # Panics
/// When it did not come within [`HANGING`]; `what` says what did not.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let answer = herder_actors::testing::guarded("an answer", async { 42 }).await;
/// assert_eq!(answer, 42);
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "the one guard against hanging")]
pub async fn guarded<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(HANGING, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("timed out after {HANGING:?} waiting for: {what}"),
    }
}

/// Waits until something is so, by looking again and again.
///
/// # Panics
/// When it was not so within [`HANGING`]; `what` says what was to be.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mut looks = 0;
/// herder_actors::testing::until("the third look", async || {
///     looks += 1;
///     looks == 3
/// })
/// .await;
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    guarded(what, looks).await;
}
