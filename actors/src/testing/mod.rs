//! Tools for tests of pools: workers that a test plays or scripts, a virtual clock, waits for events, the captured log.
//! Feature `testing`; applications use it, with more, through `herder::testing`. Holds no state of a pool, and uses only what
//! any launcher and any worker can use.
//!
//! Whatever cannot be done, or does not happen within the timeout, panics: the test has failed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue has failed")]

mod clock;
mod fake_worker;
mod fake_workers;
mod logs;
mod process;
mod script;
mod wait;

pub use crate::clock::VirtualClock;
pub use fake_worker::{FakeWorker, PeerSocket, encoded, error, hello, ready, result};
pub use fake_workers::{FakeWorkers, LaunchOutcome, Launches};
pub use herder_core::ExitStatus;
pub use logs::{LogLine, capture, log_lines_of, wait_for_log};
pub use process::ScriptedChild;
pub use script::{Fault, Invocation, Script, ScriptedWorkers, Session, StartBehavior};
pub use wait::{HANG_TIMEOUT, wait_until, with_timeout};

/// The messages between host and worker, for tests that play a worker.
pub mod wire {
    pub use herder_core::WireId;
    pub use herder_wire::{
        CallFrame, CallHeaders, CallResult, CommandEntry, EndReason, HostHello, HostMessage, InstalledPackage, RawJson,
        Ready, SessionEnd, SessionStateSupport, WorkerError, WorkerErrorKind, WorkerHello, WorkerMessage,
    };
}
