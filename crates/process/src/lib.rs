//! Starts, watches, stops and reaps worker processes, so that none outlives its host and none stays a zombie (R30).
//!
//! This crate handles processes, not pools: no routing, no restarts, no protocol. Its state is process-wide: one *spawner* thread
//! behind [`spawn`], one *monitor* thread, one thread that writes log lines, and one *watchdog* process. They are started
//! with the first worker and shared by every runtime and every actix `System` of the host. Only this crate contains
//! `unsafe` code.
//!
//! - The **spawner** is one thread that does not end while the host runs, because Linux sends a death signal when the *thread*
//!   that started the child ends.
//! - The **monitor** waits for every child, reads its output, and runs the stop sequences. It never runs code of the application,
//!   so that a slow log subscriber cannot delay a kill.
//! - The **watchdog** is forked from the host before the first worker and never calls exec. It knows the process groups of the
//!   workers and kills them when the host has exited for any reason: a `SIGKILL` of the host ends grandchildren too.
//!
//! A [`Template`] is a worker process that forks further ones on request. They are children of the host as well, so everything said
//! here applies to them.
//!
//! A worker may share memory with its host: see [`ArgumentSlab`] and [`ResultSlab`]. Its slabs are sent on the socket named in
//! `HERDER_SLAB_FD`.
//!
//! A worker starts with the default disposition of every signal and an empty signal mask, whatever its host ignores, handles or
//! blocks.
//!
//! The output of a worker becomes `tracing` events with target `herder::worker`, level INFO, and the fields `worker`,
//! `pool` (both from the label of the command) and `stream`. It never reaches the descriptors of the protocol (R40). A worker may also send log records
//! as datagrams on the descriptor named in `HERDER_LOG_FD`: each becomes one event of that target, with its level and fields.
//!
//! # Limits
//! - A process that leaves the group of its worker (`setsid`) is not killed with it. Its standard output and error are
//!   closed when the worker exits.
//! - A host that forks itself cannot use this crate in the forked child: [`spawn`] returns [`SpawnError::ForkedHost`] there, and
//!   handles copied by the fork do nothing.
//! - A host that changes its user (`setuid`) may not signal workers that it started before. The watchdog signals them, unless the
//!   watchdog was replaced after the change.
//! - In a host that ignores `SIGCHLD` or waits for any child, exit statuses of workers can be lost: they are
//!   [`ExitStatus::Unknown`]. The process group of such a worker is still killed: by its pidfd since Linux 6.9; on older kernels
//!   only if no process has the worker's process id by then and the group belongs to the host's session; outside Linux it is not
//!   killed. A process may have inherited the ignored `SIGCHLD`: [`reset_signals`] restores the default.
//! - If the host is PID 1 or a subreaper, orphans become its children. They are reaped only if the host calls [`reap_orphans`].
//! - [`Child::exit_memory`] reports a likely cause, not a certain one: the kernel counts its kills by cgroup. A kill of another
//!   process in the cgroup, which no death of a worker explains, can be attributed to a worker that other code killed later.
//! - Linux is the platform. On other systems there is no death signal and no pidfd: each child needs a waiting thread, and
//!   only the watchdog ends the workers of a host that was killed. Without `/proc`, [`Child::sample`] returns nothing.
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
#[cfg(feature = "inspect")]
pub mod inspect;
mod limits;
mod lines;
mod lock;
mod log_record;
mod memory;
mod monitor;
mod output_log;
mod process_mark;
mod reaper;
mod sample;
mod signals;
mod slab;
mod spawner;
mod stack;
mod stop_sequence;
mod template;
mod thread;
mod usage;
mod waker;
mod watchdog;

pub use allocator::return_large_buffers;
pub use child::{Child, Spawned, StackCapture};
pub use command::Command;
pub use error::SpawnError;
pub use herder_core::ExitStatus;
pub use host::spawn;
pub use limits::{descriptor_limit, explain, is_out_of_descriptors, raise_descriptor_limit};
pub use memory::{ExitMemory, OutOfMemory};
pub use process_mark::ProcessMark;
#[cfg(feature = "inspect")]
pub use process_mark::in_fork;
pub use reaper::reap_orphans;
pub use rustix::process::Signal;
pub use sample::ProcessSample;
pub use signals::{reset_signals, set_foreground};
pub use slab::{ArgumentSlab, ResultMemory, ResultSlab, SlabError, SlabFile, SlabPurpose, SlabSocket};
pub use template::{ForkError, ForkRequest, Template, TemplateReport};
pub use thread::thread_builder;
