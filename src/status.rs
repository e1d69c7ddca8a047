//! The status of a pool: workers, queues and counters, and its commands.
//!
//! ```
//! use herder::status::{PoolState, WorkerState};
//! # use herder::testing::{Script, scripted};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! # let script = Script::new().command("ok", async |_| Ok(Value::Null));
//! # let pool = scripted("shown", script, |context| context.basic().app("app.py:app").build()).await;
//! # pool.call::<Value>("ok", &json!({})).await?;
//! let status = pool.status().await?;
//! assert_eq!((status.state, status.counters.ok), (PoolState::Running, 1));
//! for worker in &status.workers {
//!     assert_eq!(worker.status.state, WorkerState::Ready);
//!     println!("{}.{}: {} calls", worker.status.id, worker.status.generation, worker.status.operations);
//! }
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! A [`WorkerId`] is a slot of the pool, whose processes are numbered by [`Generation`]; a [`WorkerRef`] is one process.

#[doc(inline)]
pub use herder_actors::{
    ActiveFeatures, BatchStatus, BufferStatus, CommandDescription, CommandStatus, Counters, EventBatch, EventFeed,
    Generation, InvalidPoolName, InvalidTransition, InvalidWorkerId, Outcomes, Percentiles, PoolEvent, PoolEventKind,
    PoolHealth, PoolName, PoolState, ProcessActivity, QueueStatus, ReloadReport, RemainingWorker, RunningCall,
    RunningCallStatus, RunningSummary, SessionAffinity, ShutdownReport, Status, TemplateStatus, Timeline, TimelineCall,
    TimelineDeath, TransitionStatus, WorkerActivity, WorkerEntry, WorkerHealth, WorkerId, WorkerInfo, WorkerMetrics,
    WorkerRef, WorkerStack, WorkerState, WorkerStatus,
};
