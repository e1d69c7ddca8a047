//! Worker processes: started, watched, stopped and reaped, so that none outlives its host and none stays a zombie (R30).
//!
//! This crate knows processes, not pools: no routing, no restarts, no protocol. Its state is process-wide: one
//! [`spawn`]er thread, one warden thread, one thread that writes log lines, and one *watchdog* process, all started with the
//! first worker and shared by every runtime and every actix `System` of the host. It is the only crate with `unsafe`.
//!
//! - The **spawner** is one thread that never ends, because on Linux a death signal fires when the *thread* that started the
//!   child ends.
//! - The **warden** waits for every child, drains its output, and climbs the stop ladders. It never runs user code, so a slow
//!   log subscriber can't delay a kill.
//! - The **watchdog** is forked from the host before the first worker and never calls exec. It knows the process groups and
//!   kills them when the host is gone, by whatever cause: a `SIGKILL` of the host takes grandchildren along too.
//!
//! A worker starts with the default disposition of every signal and an empty signal mask, whatever its host ignores, handles or blocks.
//!
//! What a worker prints becomes `tracing` events of target `herder::worker` at INFO, with the fields `worker` (the command's
//! label) and `stream`, and never touches the protocol's descriptors (R40).
//!
//! # Limits
//! - A process that leaves its worker's group (`setsid`) is out of reach. It loses the pipes when the worker ends.
//! - A host that forks *itself* can't use this crate in the forked child: [`spawn`] says [`SpawnError::ForkedHost`] there, and
//!   handles copied by the fork do nothing.
//! - A host that changes its user (`setuid`) has no right to signal workers that it started before. The watchdog signals them, unless it was replaced
//!   after the change.
//! - In a host that ignores `SIGCHLD`, or waits for any child, exit statuses of workers can be lost: they are [`ExitStatus::Unknown`]. The process
//!   group of such a worker is still killed: by its pidfd since Linux 6.9; on older kernels only if no process has the worker's process id by
//!   then and the group belongs to the host's session; outside Linux it is not killed. A process may have inherited that it ignores `SIGCHLD`: [`reset_signals`] sets the default.
//! - If the host is PID 1 or a subreaper, orphans become its children. They are reaped only if the host calls [`reap_orphans`].
//! - [`Child::exit_memory`] says likely, not surely: the kernel counts its kills by cgroup, and a kill of any other process in it, that no
//!   worker's death accounts for, can be taken for a worker's that somebody else killed later.
//! - Linux is the platform. Elsewhere there is no death signal and no pidfd: each child costs a waiting thread, and the watchdog
//!   alone ends the workers of a host that was killed. Without `/proc` nobody can tell what a process does ([`Child::sample`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), herder_process::SpawnError> {
//! use herder_process::{Command, ExitStatus, spawn};
//!
//! let spawned = spawn(Command::new("sh").args(["-c", "echo tired >&2; exit 3"]).label("models/w1.1")).await?;
//! assert_eq!(spawned.child.wait().await, ExitStatus::Code(3));
//! assert_eq!(spawned.child.output_tail(), ["tired"]);
//! # Ok(()) }
//! ```

mod allocator;
mod child;
mod child_setup;
mod command;
mod error;
mod exit;
mod fork;
mod group;
mod host;
mod image;
#[cfg(feature = "census")]
pub mod inspect;
mod limits;
mod lock;
mod log;
mod memory;
mod monitor;
mod output;
mod process_mark;
mod reaper;
mod sample;
mod signals;
mod spawner;
mod stack;
mod stop_sequence;
mod thread;
mod usage;
mod waker;
mod watchdog;

pub use allocator::return_large_buffers;
pub use child::{Child, Spawned};
pub use command::Command;
pub use error::SpawnError;
pub use herder_core::ExitStatus;
pub use host::spawn;
pub use limits::{descriptor_limit, explain, is_out_of_descriptors, raise_descriptor_limit};
pub use memory::{ExitMemory, OutOfMemory};
pub use process_mark::ProcessMark;
#[cfg(feature = "census")]
pub use process_mark::in_fork;
pub use reaper::reap_orphans;
pub use rustix::process::Signal;
pub use sample::ProcessSample;
pub use signals::reset_signals;
pub use thread::thread_builder;
