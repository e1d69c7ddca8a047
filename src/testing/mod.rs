//! For tests of your own pools, and of services that use them. Feature `testing`, for `[dev-dependencies]`; it adds nothing to a
//! build without it.
//!
//! Three kinds of pools, each with a name nobody else has and a folder of its own, so that tests run side by side:
//!
//! | | what its workers are | for |
//! |---|---|---|
//! | [`pool`] | the processes you configured | your Python, and what happens when a worker is killed, stopped or slow to start |
//! | [`scripted`] | closures: no process and no Python | your service: answers, errors, deaths, all decided by the test |
//! | [`played`] | the test itself, frame by frame | what no worker does by itself: garbage, silence, half a frame |
//!
//! A pool of the latter two may go by a [`Clock`] that the test moves: sessions expire, deadlines pass and breakers open without a wait.
//!
//! Wait for events, never for time: [`until`], [`guarded`], [`TestPool::whole`], [`logged`]. End each pool with [`TestPool::end`], which
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
//! let pool = scripted("prices", script, |fresh| fresh.basic().app("prices.py:app").build()).await;
//! assert_eq!(pool.call::<u32>("price", &json!({ "item": "tea" })).await.unwrap(), 120);
//! let error = pool.call::<u32>("price", &json!({ "item": "tar" })).await.unwrap_err();
//! assert!(matches!(&error, herder::Error::Rejected { code: Some(code), .. } if code == "unknown_item"), "{error:?}");
//! pool.end().await;
//! # }
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod census;
mod concurrent;
mod fresh;
mod gate;
mod pool;
mod scripted;

pub use census::Census;
pub use concurrent::{Intervals, concurrent};
pub use fresh::Fresh;
pub use gate::Gate;
pub use herder_actors::{
    Signal,
    census::{Seen, change_user, stat},
    testing::{
        Clock, End, ExitStatus, Fault, HANGING, Invocation, Launch, Launches, Line, Peer, Peers, Script, ScriptedChild,
        ScriptedWorkers, Session, Starts, capture, encoded, error, guarded, hello, lines_of, logged, ready, result,
        until, wire,
    },
};
pub use pool::{TestPool, configured, pool, pool_soon, signal};
pub use scripted::{Played, ScriptedPool, played, played_on, scripted, scripted_on};

use std::time::Duration;

/// Between two looks: for the machine, not for the event.
const PAUSE: Duration = Duration::from_millis(2);

/// [`until`], for what can be seen without waiting; its future can be sent to another thread.
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
async fn until_seen(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    guarded(what, looks).await;
}
