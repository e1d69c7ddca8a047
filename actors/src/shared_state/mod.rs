//! The shared state: all state of one pool. It is confined to the thread of one arbiter and outlives each single actor except
//! the supervisor. [`with`] and [`step`] are the only ways to change it: the core decides, then the effects are applied. A
//! change does not await and runs no user code. What takes long, such as a new slab, is put into an outbox as work for its writer.

mod batched_commands;
mod batches;
mod call;
mod commands;
mod effects;
mod errors;
mod exits;
mod failed_calls;
mod installed_package;
mod late_failures;
mod link;
mod log_level;
mod metrics;
mod outbox;
mod rebuild;
mod recent_calls;
mod recording;
mod reported;
mod running_calls;
mod session_history;
mod slab_room;
mod slabs;
mod state;
mod step;
mod streams;
mod submit;
mod suspects;
mod watching;

pub(crate) use call::{Answer, Incoming, Replier};
pub(crate) use effects::{COPY_LIMIT, copied_if_small};
pub(crate) use errors::{exit_error, start_failed};
pub(crate) use link::{CommandTable, Link};
pub(crate) use outbox::Outbox;
pub(crate) use slabs::{Made, SlabFault, SlabWork, Slabs, needed as needed_in_slab};
pub(crate) use state::{Deferred, FinalFrame, State};
pub(crate) use step::{SharedState, WeakSharedState, step, sweep, with};
pub(crate) use streams::ChunkOutcome;
