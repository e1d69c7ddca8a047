//! Workers whose commands are closures: no process and no Python, but the complete pool otherwise. `commands` holds the
//! commands of a script, `worker` runs them, `workers` launches the workers.

mod commands;
mod fault;
mod invocation;
mod worker;
mod workers;

pub use commands::Script;
pub use fault::Fault;
pub use invocation::{Invocation, Session};
pub use worker::StartBehavior;
pub use workers::ScriptedWorkers;
