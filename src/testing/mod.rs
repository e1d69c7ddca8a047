//! A kit for tests of pools, and of services that use them. Feature `testing`, for `[dev-dependencies]`; it adds
//! nothing to a build without it.
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
//!         _ => Err(Fault::rejected("not in stock").code("unknown_item")),
//!     }
//! });
//! let pool = scripted("prices", script, |context| context.basic().app("prices.py:app").build()).await;
//! assert_eq!(pool.call::<u32>("price", &json!({ "item": "tea" })).await.unwrap(), 120);
//! let error = pool.call::<u32>("price", &json!({ "item": "tar" })).await.unwrap_err();
//! assert!(matches!(&error, herder::Error::Rejected { code: Some(code), .. } if code == "unknown_item"), "{error:?}");
//! pool.shutdown_and_check().await;
//! # }
//! ```
//!
//! There are three kinds of test pools. Each pool has a unique name and a separate directory, so that tests can run in
//! parallel:
//!
//! | | workers | purpose |
//! |---|---|---|
//! | [`pool`] | the processes of the configuration | tests of a Python app, and of workers that are killed, paused or slow to start |
//! | [`scripted`] | closures; no processes and no Python | tests of a service: the test decides each result, error and death |
//! | [`frame_pool`] | the test itself, which sends and receives frames | behavior that no real worker shows: invalid frames, no answer, half a frame |
//!
//! A pool of the last two kinds can use a [`VirtualClock`], which the test advances: sessions expire, deadlines pass
//! and breakers open without waiting.
//!
//! Wait for events, never for a fixed time: [`wait_until`], [`with_timeout`], [`TestPool::wait_healthy`],
//! [`wait_for_log`]. End each pool with [`TestPool::shutdown_and_check`], which proves that no process, descriptor or
//! call is left.
//! [`assert_concurrent!`](crate::testing::assert_concurrent) proves that calls overlapped.
//!
//! Functions of this module panic when something fails or does not happen in time. Those that are not async report the line
//! of the test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue has failed")]

mod concurrent;
mod context;
mod gated_python;
mod pool;
mod processes;
mod scripted;

#[doc(inline)]
pub use crate::assert_concurrent;
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
