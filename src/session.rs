//! Sessions: on which worker their calls run, and why.
//!
//! ```
//! use herder::session::Routing;
//! # use herder::testing::{Script, scripted};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! # let script = Script::new().command("add", async |_| Ok(Value::Null));
//! # let pool = scripted("carts", script, |context| context.enhanced().app("carts.py:app").build()).await;
//! let first = pool.call::<Value>("add", &json!({ "item": "tea" })).session("ann").reply().await?;
//! let second = pool.call::<Value>("add", &json!({ "item": "milk" })).session("ann").reply().await?;
//! assert_eq!((first.routing, second.routing), (Routing::New, Routing::Hit));
//! assert_eq!(first.worker, second.worker);
//! println!("{}", pool.why("ann").await?);
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! A pool with session affinity registers a [`SessionAffinityActor`], which accepts the
//! [messages](crate::messages) about bindings.

#[doc(inline)]
pub use herder_actors::{
    Affinity, BindError, Epoch, HistoryEntry, HistoryState, IfAbsent, InvalidSessionId, PastSessionEntry, RebindReason,
    Routing, SessionAffinityActor, SessionHistory, SessionInfo, SessionPage, SessionState,
};
