//! For tests of pools: workers that are played instead of started, a clock that is moved by hand, waits for events, the captured
//! log. Feature `testing`; users find it, and more, in `herder::testing`. Holds no state of a pool, and uses nothing of it but what
//! any launcher and any worker has.
//!
//! What can't be done, or does not come, panics: it is a test that failed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod clock;
mod fake_worker;
mod fake_workers;
mod logs;
mod pinged;
mod process;
mod script;

/// What passes between a host and a worker, for who plays one by hand.
pub mod wire {
    pub use herder_core::WireId;
    pub use herder_wire::{
        CallFrame, CallResult, CommandEntry, EndReason, HostHello, HostMessage, Ready, SessionEnd, SessionStateSupport,
        WorkerError, WorkerErrorKind, WorkerHello, WorkerMessage,
    };
}

pub use clock::VirtualClock;
pub(crate) use clock::VirtualTimer;
pub use fake_worker::{FakeWorker, PeerSocket, encoded, error, hello, ready, result};
pub use fake_workers::{FakeWorkers, LaunchOutcome, Launches};
pub use herder_core::ExitStatus;
pub use logs::{LogLine, capture, log_lines_of, wait_for_log};
pub(crate) use pinged::UnansweredPings;
pub use process::ScriptedChild;
pub use script::{Fault, Invocation, Script, ScriptedWorkers, Session, StartBehavior};

use std::time::Duration;

/// When a wait is given up: a guard against hanging and no measure, generous on purpose, since a machine may be busy. Two minutes.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(120);

/// Between two looks of [`wait_until`]: for the machine, not for the event.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Awaits something, with a guard against hanging.
///
/// # Panics
/// When it did not come within [`HANG_TIMEOUT`]; `what` says what did not.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let answer = herder_actors::testing::with_timeout("an answer", async { 42 }).await;
/// assert_eq!(answer, 42);
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "the one guard against hanging")]
pub async fn with_timeout<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(HANG_TIMEOUT, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("timed out after {HANG_TIMEOUT:?} waiting for: {what}"),
    }
}

/// Waits until something is so, by looking again and again.
///
/// # Panics
/// When it was not so within [`HANG_TIMEOUT`]; `what` says what was to be.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mut looks = 0;
/// herder_actors::testing::wait_until("the third look", async || {
///     looks += 1;
///     looks == 3
/// })
/// .await;
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(what, looks).await;
}
