//! For tests of your own pools, and of services that use them. Feature `testing`, for `[dev-dependencies]`; it adds nothing to a
//! build without it.
//!
//! Three kinds of pools, each with a name nobody else has and a folder of its own, so that tests run side by side:
//!
//! | | what its workers are | for |
//! |---|---|---|
//! | [`pool`] | the processes you configured | your Python, and what happens when a worker is killed, stopped or slow to start |
//! | [`scripted`] | closures: no process and no Python | your service: answers, errors, deaths, all decided by the test |
//! | [`frame_pool`] | the test itself, frame by frame | what no worker does by itself: garbage, silence, half a frame |
//!
//! A pool of the latter two may go by a [`VirtualClock`] that the test moves: sessions expire, deadlines pass and breakers open without a wait.
//!
//! Wait for events, never for time: [`wait_until`], [`with_timeout`], [`TestPool::wait_healthy`], [`wait_for_log`]. End each pool with [`TestPool::end`], which
//! proves that nothing was left. [`assert_concurrent!`](crate::assert_concurrent) proves that calls overlapped.
//!
//! What can't be done, or does not come, panics, at the line of the test: a kit for tests has nobody to give an error to.
//!
//! ```
//! use herder::testing::{Fault, Script, scripted};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() {
//! let script = Script::new().idempotent("price", async |call| {
//!     let item: String = call.argument("item")?;
//!     match item.as_str() {
//!         "tea" => Ok(json!(120)),
//!         _ => Err(Fault::rejected("we have none").code("unknown_item")),
//!     }
//! });
//! let pool = scripted("prices", script, |context| context.basic().app("prices.py:app").build()).await;
//! assert_eq!(pool.call::<u32>("price", &json!({ "item": "tea" })).await.unwrap(), 120);
//! let error = pool.call::<u32>("price", &json!({ "item": "tar" })).await.unwrap_err();
//! assert!(matches!(&error, herder::Error::Rejected { code: Some(code), .. } if code == "unknown_item"), "{error:?}");
//! pool.end().await;
//! # }
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod concurrent;
mod context;
mod gated_python;
mod pool;
mod processes;
mod scripted;

pub use concurrent::{Intervals, concurrent};
pub use context::TestContext;
pub use gated_python::GatedPython;
pub use herder_actors::{
    Signal,
    inspect::{ProcessInfo, change_user, stat},
    testing::{
        ExitStatus, FakeWorker, FakeWorkers, Fault, HANG_TIMEOUT, Invocation, LaunchOutcome, Launches, LogLine,
        PeerSocket, Script, ScriptedChild, ScriptedWorkers, Session, StartBehavior, VirtualClock, capture, encoded,
        error, hello, log_lines_of, ready, result, wait_for_log, wait_until, wire, with_timeout,
    },
};
pub use pool::{TestPool, pool, pool_config, signal, starting_pool};
pub use processes::PoolProcesses;
pub use scripted::{FramePool, ScriptedPool, frame_pool, frame_pool_on, scripted, scripted_on};

use std::time::Duration;

/// Between two looks: for the machine, not for the event.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// [`wait_until`], for what can be seen without waiting; its future can be sent to another thread.
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
async fn wait_until_seen(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(what, looks).await;
}
