//! The flight recorder of a worker process: its last frames, state transitions and output, and its exit.
//!
//! ```
//! use herder::recorder::Direction;
//! # use herder::{status::WorkerId, testing::{Script, scripted}};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! # let script = Script::new().command("price", async |_| Ok(json!(120)));
//! # let pool = scripted("recorded", script, |context| context.basic().pool_size(1).app("app.py:app").build()).await;
//! pool.call::<u32>("price", &json!({ "item": "tea" })).await?;
//! let recording = pool.recorder(WorkerId(1), None).await?;
//! let answer = &recording.last_frames(1)[0];
//! assert_eq!((answer.direction, answer.command.as_deref()), (Direction::Received, Some("price")));
//! assert!(recording.exit.is_none(), "the process is running");
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! Errors of a lost worker contain the recording of its process ([`ExitReport`](crate::error::ExitReport)). Frames are
//! recorded without their contents.

#[doc(inline)]
pub use herder_actors::{Descriptor, Direction, RecordedExit, RecordedFrame, RecordedTransition, Recording};
