//! Signals, limits and orphans of the host process.
//!
//! ```
//! use herder::process::{raise_descriptor_limit, reap_orphans, reset_signals, return_large_buffers};
//!
//! // At the beginning of `main`, before there are other threads:
//! reset_signals();
//! raise_descriptor_limit();
//! return_large_buffers();
//!
//! // Only in a process that is PID 1 or a subreaper: once at the start, and after each SIGCHLD. The closure returns
//! // whether a process is a child of the application, which it reaps itself.
//! reap_orphans(|_child| false);
//! ```
//!
//! Pools change nothing in the process that they run in. `herder serve` calls all four functions; what they are good for
//! is in `docs/configuration.md`.
//!
//! [`set_foreground`] passes the terminal on to a worker and takes it back: `herder dev` does so for debuggers.

#[doc(inline)]
pub use herder_actors::{raise_descriptor_limit, reap_orphans, reset_signals, return_large_buffers, set_foreground};
