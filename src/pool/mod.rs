//! Starting a pool, and the replies of its calls with their times.
//!
//! ```
//! use herder::{Pool, PoolConfig, session::Routing};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! let pool = Pool::start(PoolConfig::enhanced("counters").app("herder.demo:app").pool_size(2).build()?).await?;
//! let reply = pool.call::<u32>("count", &json!({})).session("ann").reply().await?;
//! assert_eq!((reply.decode::<u32>()?, reply.routing), (1, Routing::New));
//! println!("{} ran it in {:?}, after {:?} in the queue", reply.worker, reply.ran, reply.queued);
//! # pool.shutdown(std::time::Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! [`Pool`](crate::Pool) is the handle that most users take, and [`Pool::start`](crate::Pool::start) returns a
//! [`Start`]. A [`Call`](crate::Call) is submitted when it is awaited, or at once by
//! [`Call::reply`](crate::Call::reply), which returns a [`PendingReply`].
//!
//! [`Call::stream`](crate::Call::stream) returns a [`CallStream`] instead: the items of a generator, as they come.
//!
//! The handle works on any thread and in any Tokio runtime. It encodes arguments and decodes results on the caller's
//! thread, and holds no state of the pool.

pub(crate) mod call;
pub(crate) mod handle;
mod start;
mod stream;

pub use call::CancelWhen;
#[doc(inline)]
pub use herder_actors::{PendingReply, PendingStream, ReplyMetadata, Stamps, Timestamp, now};
pub use start::Start;
#[cfg(feature = "testing")]
pub(crate) use start::supervised;
pub use stream::CallStream;
